import "./styles.css";
import { render } from "solid-js/web";
import { App } from "./app";
import { showTheme, theme } from "./theme";

showTheme(theme());
render(() => <App />, document.body);
