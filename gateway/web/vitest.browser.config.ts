import { defineConfig } from "vitest/config";

// tests/system/browsed.py starts a platform, and these against it, by topic.
export default defineConfig({
  test: {
    environment: "node",
    include: ["tests/browser/*.browser.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    fileParallelism: false,
  },
});
