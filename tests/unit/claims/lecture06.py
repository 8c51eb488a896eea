"""Recomputes lecture 06's rows of the ledger: what the quoted tables lose against their own baselines."""

PTQ = {32: 71.1, 4: 69.1, 3: 65.6, 2: 51.1}  # top-1 of ResNet-18 on ImageNet, as lecture 003 prints it
QAT = {32: 69.9, 4: 70.6, 3: 69.7, 2: 67.0}


def drops(printed):
    return tuple(printed[bits] - printed[32] for bits in (4, 3, 2))


RECOMPUTE = {
    "06-ptq-drops": lambda: drops(PTQ),
    "06-qat-drops": lambda: drops(QAT),
    "06-baselines-differ": lambda: PTQ[32] - QAT[32],
    "06-gap-at-2": lambda: (QAT[2] - PTQ[2], drops(QAT)[2] - drops(PTQ)[2]),
}
