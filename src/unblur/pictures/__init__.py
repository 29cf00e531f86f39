"""Pictures of a photo before and after, for files, pages and terminals."""
