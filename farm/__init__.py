"""A render farm for Apple silicon."""
