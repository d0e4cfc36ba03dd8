"""`make bench`: how fast it is, beside what it stands on, in one run on this machine."""
