import { defineConfig } from "vitest/config";

// tests/system/test_page.py starts a platform, and these against it.
export default defineConfig({
  test: {
    environment: "node",
    include: ["tests/browser/*.browser.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    fileParallelism: false,
  },
});
