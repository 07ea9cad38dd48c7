"""Account trades by request: the format of requests and the role that serves them."""
