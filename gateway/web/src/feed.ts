/** The one feed of the page. */

import type { LiveFeed } from "./live/feed";
import { SocketFeed } from "./live/socket_feed";
import { setStatus } from "./state";

const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/live`;

export const feed: LiveFeed = new SocketFeed(url, setStatus);
