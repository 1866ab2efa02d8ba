"""What clients say and hear: admission, sessions, what is passed on and what is judged."""
