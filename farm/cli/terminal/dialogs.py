"""What `farm top` puts over its screen: a question before what cannot be taken back, and the help."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

HELP = """\
The upper table lists the live jobs, the lower one the machines. Between
them is why the selected job runs where it does or, while the lower table
is in use, everything about the selected machine. Below is what each class
of chips renders now and has rendered since this screen was opened.

  Tab         switch tables
  arrows      choose a line; left and right show what is cut off
  p   r       pause the job, resume it
  c           cancel the job; finished images are kept
  d   u       drain the worker (it finishes what it has), resume it
  ?   Esc     this help, and back
  q           quit; the farm keeps running

Without a screen: farm jobs, workers, explain, pause, cancel, drain."""


class Question(ModalScreen[bool]):
    """Asks and gives back whether the answer was yes."""

    BINDINGS: ClassVar[list[BindingType]] = [("y", "dismiss(True)", "Yes"), ("n,escape,q", "dismiss(False)", "No")]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The question and its keys."""
        yield Static(f"{self._text}\n\ny  yes      n  no", markup=False, classes="dialog")


class Help(ModalScreen[None]):
    """Says what can be seen and done."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,question_mark,q,enter", "dismiss", "Back")]

    def compose(self) -> ComposeResult:
        """The help."""
        with VerticalScroll(classes="dialog"):
            yield Static(HELP, markup=False)
