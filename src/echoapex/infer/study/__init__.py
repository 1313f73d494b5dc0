"""One study: its clips analysed in turn, and their values combined."""
