"""The tables of the node, one file for each version of them; `echoapex.serve.database` applies them."""
