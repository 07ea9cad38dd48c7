"""The messages of the WebSocket /v1/live, by position.

A client sends requests, each a JSON object as text:

    {"op": "subscribe", "id": 1, "channel": "bars", "venue": "sim", "symbol": "BTCUSDT", "interval": "1m", "last": 300}
    {"op": "unsubscribe", "id": 1}
    {"op": "ping", "sent": 17}

`id` is a number of the client's choice, 0 to 2^31 - 1, not in use on this socket. By channel:

    bars        venue, symbol, interval (a standard one); last (1 to 2,000 bars in the snapshot, 100 by default);
                full (true: with turnover, buy_volume, seq_first, seq_last too)
    trades      venue, symbol; last (0 to 1,000 trades in the snapshot, 50 by default)
    quotes      venue, symbol
    latest      venue, symbol
    account_candles  account (an id, a number or text), interval; last (1 to 2,000 candles, 100 by default)
    rankings    window (1h 24h 7d), measure (change volatility turnover), limit (1 to 200, 20 by default)
    gaps        nothing: all gaps from now on

and `after`: [epoch, n], the version received last, to go on where a connection was lost. Venue may be left out where
one venue has the symbol.

The server sends msgpack arrays, each a binary message. Its first item is the type; the topic is the number that the
server gave to a subscription's rows, the same for all sockets; n is the version of the topic, which rises.

     0 SUBSCRIBED    [0, id, topic, epoch, n, resumed, decimals, rows, venue]
     1 BARS          [1, topic, n, [bar, ...]]
     2 TRADES        [2, topic, n, base_ts, base_seq, [[ts - base_ts, seq - base_seq, price, size, side, flags], ...]]
     3 QUOTES        [3, topic, n, ts, seq, bid, bid_size, ask, ask_size]
     4 LATEST        [4, topic, n, ts, seq, price, size]
     5 RANKINGS      [5, topic, n, [[venue, symbol, change, volatility, turnover], ...]]
     6 GAPS          [6, topic, n, [[kind, venue, symbol, ts, ts_end, seq, seq_last, missing, closed, reason], ...]]
     7 REVISED       [7, topic, start, end]          stored bars older than those of the snapshot changed in this span,
                     start and end in ns, both inclusive
     8 SKIPPED       [8, topic, seq_from, seq_to, count]    trades that were not sent: query them
     9 ERROR         [9, id, title, detail, remedy, problem]     id is nil where the fault is no subscription's;
                     problem: the last part of the problem's type, as in answers of the REST interface
    10 HEARTBEAT     [10, sent, lag]                 every 5 s; lag: ms that the newest frame took to here, or nil
    11 PONG          [11, sent]                      the value that came with the ping
    12 SLOW          [12, ms]                        the client was too slow for so long; next comes the newest state
    13 UNSUBSCRIBED  [13, id]
    14 ACCOUNT_CANDLES  [14, topic, n, [[ts, open, high, low, close, volume, trades], ...]]    whole, amounts as text

Times are ns UTC, but in bars and candles s UTC. Times in ns and epoch are above 2^53: read them as whole numbers of 64
bits (in JavaScript as bigint). The rows of SUBSCRIBED are those of the channel's messages: of bars, candles, rankings
and gaps the list, of trades, quotes and latest a list of the items after n, or nil where there is nothing yet. With
`resumed` they are what changed after the version the client had; without it they replace all that the client has.
Its venue is that of the symbol, nil for candles, rankings and gaps.

A price, or the size of a trade or quote, is sent as an integer, the number times 10^decimals, which saves bytes; the
decimals of a topic are those of SUBSCRIBED, and the same for all. An empty side of a book is nil, or NaN. Where
that is not exact it is sent as the number itself, which then has a fraction, or else as text.

A bar is [ts, mask, value, ...]: the values of the fields whose bit is set in mask, in the order of BAR_FIELDS. Other
fields are as before. A bar that is new, or was no more, has all fields of its channel; one that the client does not
have with fewer is older than its snapshot. With mask 0 there is no such bar any more.

With /v1/live?format=json each message is a JSON object as text, with names: {"type": "bars", "topic", "venue",
"symbol", "interval", "n", "bars": [{"ts": "2024-03-01T00:00:00Z", "open", ...}]}; bars are always whole.

Close codes: see CLOSE_CODES.
"""

from __future__ import annotations

from typing import Final

SUBSCRIBED: Final = 0
BARS: Final = 1
TRADES: Final = 2
QUOTES: Final = 3
LATEST: Final = 4
RANKINGS: Final = 5
GAPS: Final = 6
REVISED: Final = 7
SKIPPED: Final = 8
ERROR: Final = 9
HEARTBEAT: Final = 10
PONG: Final = 11
SLOW: Final = 12
UNSUBSCRIBED: Final = 13
ACCOUNT_CANDLES: Final = 14

CHANNELS = ("bars", "trades", "quotes", "latest", "rankings", "gaps", "account_candles")
BAR_FIELDS = (
    "close", "volume", "trades", "high", "low", "open", "final", "revision",
    "turnover", "buy_volume", "seq_first", "seq_last",
)  # fmt: skip
"""The fields of a bar by bit of its mask, 1 for close; those that change most often come first."""
SHORT_FIELDS = 8
"""How many of BAR_FIELDS a subscription has without `full`."""
CANDLE_FIELDS = ("open", "high", "low", "close", "volume", "trades")
"""The fields of a candle of an account."""
PRICE_FIELDS = frozenset({"open", "high", "low", "close"})
LAST_BARS, MOST_BARS = 100, 2_000
"""Bars or candles in a snapshot: by default, and at most."""
LAST_TRADES, MOST_TRADES = 50, 1_000
"""Trades in a snapshot: by default, and at most."""
HEARTBEAT_S = 5.0
"""A server that sends nothing for three times this long is gone."""
CLOSE_CODES = {
    1000: "the client closed",
    1001: "the gateway stops",
    1002: "a frame that no client may send: compressed, without a mask, out of order",
    1003: "a request was not text",
    1007: "a request was not UTF-8",
    1008: "too many subscriptions or requests",
    1009: "a request was longer than 64 KB",
    4001: "the client answered no ping",
    4002: "the client was too slow for too long",
}
"""By code of a close frame what it means; its reason says more."""


def scaled(value: float, decimals: int) -> float | int | str:
    """A price or size as a message has it: see above."""
    factor = 10.0**decimals
    if abs(value) < 2**53 / factor:
        whole = round(value * factor)
        if whole / factor == value:
            return whole
    # A reader in JavaScript cannot tell 5.0 from 5.
    return repr(float(value)) if float(value).is_integer() else float(value)


def unscaled(value: float | str, decimals: int) -> float:
    """The price or size of a message."""
    return value / 10.0**decimals if isinstance(value, int) else float(value)


def decimals_of(value: float) -> int:
    """The decimals, 0 to 8, with which `value` can be sent as an integer; 8 where it has more."""
    return next((digits for digits in range(9) if isinstance(scaled(value, digits), int)), 8)
