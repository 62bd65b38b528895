import { createTheme, type MantineColorsTuple } from "@mantine/core";

const blue: MantineColorsTuple = ["#edf4ff", "#dbe7fb", "#b4cdf5", "#8ab1f0", "#6699ec", "#4f8aea", "#3f7de3", "#2b68ca", "#1f5cb8", "#1550a3"];

// Cooler than the library's greys: surfaces, borders and text of the dark scheme go together.
const dark: MantineColorsTuple = ["#ced3db", "#b4bac4", "#8f96a1", "#6a717d", "#454b56", "#353941", "#272b32", "#1d2025", "#16181c", "#101215"];

export const theme = createTheme({
  colors: { blue, dark },
  primaryColor: "blue",
  primaryShade: { light: 8, dark: 7 },
  fontFamily: 'Inter, "Inter Variable", ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
  fontFamilyMonospace: 'ui-monospace, SFMono-Regular, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace',
  headings: { fontWeight: "650" },
  defaultRadius: "md",
  cursorType: "pointer",
  autoContrast: true,
  components: {
    Modal: { defaultProps: { radius: "lg", overlayProps: { backgroundOpacity: 0.5 }, closeButtonProps: { "aria-label": "Close" } } },
    Tooltip: { defaultProps: { withArrow: true, openDelay: 200 } },
    Table: { defaultProps: { verticalSpacing: "sm", horizontalSpacing: "md" } },
  },
});
