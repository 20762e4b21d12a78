"""What the two digit sets share: rendering, speech, files of digits, and one cached file."""
