"""`kubectl dashboardrefresh`: what people do with refreshes, by the annotations and the status that every refresh has."""
