/** Whether the page is as narrow as a phone. The same width is in styles.css. */

import { createSignal } from "solid-js";

const narrow = matchMedia("(width < 760px)");
const [isPhone, setIsPhone] = createSignal(narrow.matches);
narrow.addEventListener("change", () => setIsPhone(narrow.matches));
export { isPhone };
