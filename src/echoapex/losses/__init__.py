"""What training minimises: one function or one file per loss."""
