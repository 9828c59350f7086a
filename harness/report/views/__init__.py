"""What the page's sections show, as plain values for the templates; numbers are already text."""
