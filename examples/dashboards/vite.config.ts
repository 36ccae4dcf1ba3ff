import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `npm run dev` beside `refresh-examples api`: the data come from there
export default defineConfig({
  plugins: [react()],
  server: { proxy: { "/api": "http://127.0.0.1:8000" } },
  build: { chunkSizeWarningLimit: 1000 },
});
