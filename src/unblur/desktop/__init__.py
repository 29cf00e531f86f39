"""Add the action "Deblur with unblur" to file managers, and show its notification."""
