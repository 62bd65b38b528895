import "@mantine/core/styles.css";
import "./console.css";
import { localStorageColorSchemeManager, MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Router } from "wouter";
import { ApiError } from "./api/client";
import { App } from "./app";
import { theme } from "./theme";
import { Toasts } from "./ui/toast";

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2_000,
      // What was refused stays refused; what could not be reached is tried again.
      retry: (n, err) => n < 2 && !(err instanceof ApiError && err.status >= 400 && err.status < 500),
    },
  },
});

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <MantineProvider theme={theme} defaultColorScheme="auto" colorSchemeManager={localStorageColorSchemeManager()}>
      <QueryClientProvider client={client}>
        <Router base="/console">
          <App />
        </Router>
        <Toasts />
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
