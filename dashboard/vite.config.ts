import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The gateway serves what is built here from beside the programs.
export default defineConfig({
  plugins: [react()],
  build: { outDir: "../python/narke/dashboard", emptyOutDir: true, sourcemap: false },
});
