import { defineConfig } from "vitest/config";

// Apart from vite.config.ts: what is tested here needs no browser.
export default defineConfig({ test: { environment: "node", include: ["tests/**/*.test.ts"] } });
