"""The action "Deblur with unblur" in the menus of file managers, and its notification."""
