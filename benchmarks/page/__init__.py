"""What the page costs: the browser that shows it, and the coordinator that serves it."""
