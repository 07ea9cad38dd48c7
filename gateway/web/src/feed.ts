/** The one feed of the page. */

import type { LiveFeed } from "./live/feed";
import { PollingFeed } from "./live/polling";
import { setStatus } from "./state";

export const feed: LiveFeed = new PollingFeed(setStatus);
