import tailwindcss from "@tailwindcss/vite";
import { defineConfig } from "vite";
import solid from "vite-plugin-solid";

// `npm run dev` serves the sources and takes data from a gateway that runs.
const gateway = { target: "http://127.0.0.1:8000", ws: true, changeOrigin: true };

export default defineConfig({
  plugins: [solid(), tailwindcss()],
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: { proxy: { "/v1": gateway, "/readyz": gateway } },
});
