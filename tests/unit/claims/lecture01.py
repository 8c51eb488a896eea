"""Recomputes lecture 01's rows of the ledger."""

# Horowitz's table as 002 prints it, 45 nm: float32 and int8
RECOMPUTE = {
    "01-horowitz-add-energy": lambda: 0.9 / 0.03,
    "01-horowitz-multiply-energy": lambda: 3.7 / 0.2,
    "01-horowitz-add-area": lambda: 4184 / 36,
    "01-horowitz-multiply-area": lambda: 7700 / 282,
}
