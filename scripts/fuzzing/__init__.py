"""Fuzzing of what workers say: a whole service in one process, around workers that lie."""
