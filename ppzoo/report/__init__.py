"""Numbers into things to look at; nothing here fits, judges or prints."""
