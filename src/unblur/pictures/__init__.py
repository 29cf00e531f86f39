"""Draw a photo before and after for files, pages and terminals, and describe its blur."""
