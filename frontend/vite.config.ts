import { defineConfig } from "vite";

// File names without hashes: a build changes only the files whose content changed. The server sends an entity tag.
export default defineConfig({
  base: "./",
  build: {
    outDir: "../src/crossette/api/pages/built",
    emptyOutDir: true,
    assetsDir: "pages",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    target: "es2022",
    cssCodeSplit: false,
    rollupOptions: {
      output: {
        entryFileNames: "pages/[name].js",
        chunkFileNames: "pages/[name].js",
        assetFileNames: "pages/[name][extname]",
      },
    },
  },
  server: { proxy: { "^/(v1|inference|admin/|openapi.json|health|metrics|version)": "http://127.0.0.1:8000" } },
});
