"""How the embedded weights are made; not part of the installed package."""
