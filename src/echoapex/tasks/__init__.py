"""The four applications as tasks, and the recipes that train them."""
