"""How Sigma PIM is installed and started."""
