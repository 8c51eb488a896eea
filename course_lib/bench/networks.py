"""Whole networks: the integer engine against PyTorch."""

from course_lib.nets import inference_row


def rows():
    """The rows of this family."""
    return [inference_row("lenet_300_100", batch=1, goal=2.0), inference_row("lenet_300_100", batch=64)]
