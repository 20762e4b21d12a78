"""The studies: one file each, whose name ``study.py`` takes and whose ``STUDY`` it carries out."""
