"""Run a notebook to its end, whatever its cells do: wait for ever, end the kernel, print without end."""

import subprocess
import time
from queue import Empty

from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbclient.util import ensure_async
from nbformat import ValidationError
from nbformat.v4 import new_output

CELL_LIMIT_S = 300
CELLS_AT_THEIR_LIMIT = 4  # as long as that many cells may take at most, the whole notebook may
START_LIMIT_S = 120
LATE_OUTPUT_S = 30
AGAIN_LIMIT_S = 5  # for a cell that outlasted its limit, when the notebook is run once more
ANSWER_S = 10  # after an interrupt
DEADLY_CELLS = 8
LONGEST_OUTPUT = 1_000_000  # characters a cell; whatever is printed beyond is dropped
OUT_OF_TIME = "OutOfTime"
NO_KERNEL = "KernelEnded"


class KernelLost(Exception):
    """The kernel is gone, or no longer to be had, after the cell ``index``."""

    def __init__(self, index, why):
        super().__init__(why)
        self.index, self.why = index, why


def run(notebook, folder, *, cell_limit=CELL_LIMIT_S, on_cell=lambda index: None):
    """Execute every cell of ``notebook``, in place, in a fresh kernel; errors stay where they happen.

    A cell that outlasts its limit is interrupted, and the rest goes on. A cell that ends the kernel, or holds on to it
    when interrupted, is left out, and the rest is run once more without it.

    Parameters
    ----------
    notebook : NotebookNode, version 4
    folder : Path
        Where the kernel runs.
    cell_limit : float, seconds
        For each cell; all of them together have ``CELLS_AT_THEIR_LIMIT`` times as long.
    on_cell : callable(index)
        Told before each cell.

    Returns
    -------
    list of str: what had to be stopped, in words; empty where nothing had
    """
    deadline = time.monotonic() + CELLS_AT_THEIR_LIMIT * cell_limit
    deadly, stopped = {}, {}
    while True:
        client = _Client(notebook, folder, cell_limit, deadline, deadly, stopped, on_cell)
        try:
            client.execute(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # cells' own output comes as messages
            break
        except KernelLost as lost:
            deadly[lost.index] = lost.why
        if len(deadly) > DEADLY_CELLS:
            why, cells = "was not run: too many cells before it ended the kernel", notebook.cells
            deadly |= {at: why for at in range(max(deadly) + 1, len(cells)) if cells[at].cell_type == "code"}
            for at, why in deadly.items():
                cells[at].outputs = [_error(NO_KERNEL, f"this cell {why}")]
            break
    return [f"cell {index + 1} {why}" for index, why in sorted({**stopped, **deadly}.items())]


def has_error(cell):
    return any(output.output_type == "error" for output in cell.get("outputs", []))


def _error(name, text):
    return new_output("error", ename=name, evalue=text, traceback=[f"{name}: {text}"])


class _Client(NotebookClient):
    def __init__(self, notebook, folder, cell_limit, deadline, deadly, stopped, on_cell):
        super().__init__(
            notebook, kernel_name="python3", kernel_manager_class=AsyncKernelManager,
            resources={"metadata": {"path": str(folder)}}, allow_errors=True, record_timing=False,
            startup_timeout=START_LIMIT_S, timeout_func=self.seconds_for, interrupt_on_timeout=True,
            error_on_timeout={"ename": OUT_OF_TIME, "evalue": "", "traceback": []}, store_widget_state=False,
            iopub_timeout=LATE_OUTPUT_S, raise_on_iopub_timeout=False, on_cell_executed=self.look_at_reply,
        )  # fmt: skip
        self.cell_limit, self.deadline, self.deadly, self.stopped, self.on_cell = (
            cell_limit, deadline, deadly, stopped, on_cell)  # fmt: skip
        self.printed, self.limit, self.reply = 0, cell_limit, None

    def seconds_for(self, cell):
        return self.limit

    async def async_execute_cell(self, cell, cell_index, **more):
        self.on_cell(cell_index)
        if cell.cell_type != "code":
            return cell
        if cell_index in self.deadly:
            cell.outputs = [_error(NO_KERNEL, f"this cell {self.deadly[cell_index]}")]
            return cell
        at_most = AGAIN_LIMIT_S if cell_index in self.stopped else self.cell_limit
        self.limit = max(1, min(at_most, self.cell_limit, self.deadline - time.monotonic()))
        self.printed, self.reply = 0, None
        try:
            cell = await super().async_execute_cell(cell, cell_index, **more)
        except DeadKernelError:
            raise KernelLost(cell_index, "ended the kernel") from None
        content = self.reply["content"] if self.reply else {}
        if any(part.get("source") == "ask_exit" for part in content.get("payload", [])):
            raise KernelLost(cell_index, "ended the kernel")
        if content.get("ename") == OUT_OF_TIME:
            why = self.stopped.setdefault(cell_index, f"was stopped after {self.limit:.0f} s")
            if not await self.answers():
                raise KernelLost(cell_index, f"{why} and would not be interrupted")
        return cell

    def look_at_reply(self, cell, cell_index, execute_reply):
        """An error that reached us by the reply alone (late output was lost) still stands in the cell."""
        self.reply, content = execute_reply, execute_reply["content"]
        if content["status"] == "error" and content["ename"] == OUT_OF_TIME:
            cell.outputs.append(_error(OUT_OF_TIME, f"stopped after {self.limit:.0f} s"))
        elif content["status"] == "error" and not has_error(cell):
            cell.outputs.append(_error(content["ename"], content["evalue"]))

    async def answers(self):
        """Whether the kernel is there again after an interrupt."""
        asked, end = self.kc.kernel_info(), time.monotonic() + ANSWER_S
        while time.monotonic() < end:
            try:
                message = await ensure_async(self.kc.shell_channel.get_msg(timeout=1))
            except Empty:
                continue
            if message["parent_header"].get("msg_id") == asked:
                return True
        return False

    def output(self, outs, msg, display_id, cell_index):
        if msg["msg_type"] != "error":
            self.printed += len(repr(msg["content"]))
            if self.printed > LONGEST_OUTPUT:
                return None
        try:
            return super().output(outs, msg, display_id, cell_index)
        except ValidationError:  # what a cell displays by hand can be anything; a notebook cannot hold it
            return None
