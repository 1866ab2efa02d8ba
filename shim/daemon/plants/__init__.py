"""The strategy `cross`: from a plan to judged paths in the serving store."""
