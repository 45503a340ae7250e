"""Expands prompt templates, in the language that the Dynamic Prompts extension made common.

`{red|blue}` is each of the two, `{2$$red|blue|green}` each pair, `__colours__` each line of colours.txt in a folder of
wildcards; https://github.com/adieyal/dynamicprompts describes the rest. The library of that name does the work.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from farm.batch.files import Row, wrong

if TYPE_CHECKING:
    from dynamicprompts.sampling_context import SamplingContext

MAX_NAMES = 20
"""Wildcards that are named when one is not found; collections hold thousands."""

MAX_PROMPTS = 1_000_000
"""Prompts that one template may make; a template can name more combinations than there are atoms."""


def expand(rows: Iterable[Row], name: str, wildcards: Path | None, draws: int | None, seed: int) -> Iterator[Row]:
    """Takes each row's prompt for a template and gives a row for each prompt that it makes.

    Args:
        rows: The rows; what they say beside the prompt holds for all that is made of them.
        name: What messages call the batch.
        wildcards: A folder of .txt files with an alternative a line, .json or .yaml files with trees of them.
        draws: Draws so many prompts from each template at random, with repetition; None for every combination once.
        seed: The same seed draws the same prompts.

    Raises:
        BatchFileError: A template cannot be understood, names what there is not, or makes too many prompts.
    """
    context = _context(wildcards, draws is not None, seed)
    for row in rows:
        if row.spec.prompt is None:
            yield row
            continue
        try:
            for prompt in _prompts(context, row.spec.prompt, draws):
                yield replace(row, spec=replace(row.spec, prompt=prompt))
        except _TemplateError as error:
            raise wrong(name, row.line, "prompt", str(error)) from None


class _TemplateError(Exception):
    """What is wrong with a template, in words."""


def _context(wildcards: Path | None, is_random: bool, seed: int) -> "SamplingContext":
    from dynamicprompts.enums import SamplingMethod
    from dynamicprompts.sampling_context import SamplingContext
    from dynamicprompts.wildcards import WildcardManager
    from dynamicprompts.wildcards.values import WildcardValues

    class StrictWildcards(WildcardManager):
        """Refuses names that stand for nothing, which the library would leave in the prompt as they are."""

        def get_values(self, wildcard: str) -> WildcardValues:
            values = super().get_values(wildcard)
            if not values:
                names = sorted(self.get_collection_names())
                known = ", ".join(names[:MAX_NAMES]) or "none; name their folder with --wildcards"
                known += ", ..." if len(names) > MAX_NAMES else ""
                raise _TemplateError(f"there is no wildcard __{wildcard}__, or it is empty; known are {known}")
            return values

    return SamplingContext(
        default_sampling_method=SamplingMethod.RANDOM if is_random else SamplingMethod.COMBINATORIAL,
        wildcard_manager=StrictWildcards(wildcards),
        rand=random.Random(seed),  # noqa: S311 - chooses prompts
    )


def _prompts(context: "SamplingContext", template: str, draws: int | None) -> Iterator[str]:
    import pyparsing
    from dynamicprompts.commands import SequenceCommand
    from dynamicprompts.parser.parse import parse

    if not template:
        yield from [template] * (draws or 1)
        return
    try:
        # Only a sequence ends by itself whatever it holds: {~a|b} alone would be drawn from for ever.
        command = SequenceCommand([parse(template)])
        for count, prompt in enumerate(islice(context.generator_from_command(command), draws), 1):
            if count > MAX_PROMPTS:
                raise _TemplateError(f"the template makes more than {MAX_PROMPTS:,} prompts; draw some with --random")
            yield str(prompt).strip()
    except pyparsing.ParseBaseException as error:
        raise _TemplateError(
            f'the template cannot be understood from "{template[error.loc :][:30]}" on; {{ }} $ % and # have a meaning '
            "in templates"
        ) from None
    except KeyError as error:
        raise _TemplateError(f"the template uses a variable that has no value ({error.args[0]})") from None
    except RecursionError:
        raise _TemplateError("the template uses a wildcard or variable that stands for itself") from None
    except RuntimeError:  # a generator of the library had nothing to give
        raise _TemplateError("the template makes no prompt: it asks for more alternatives than it has") from None
    except (ValueError, AssertionError) as error:  # what its parser raises where its grammar leaves off
        raise _TemplateError(f"the template cannot be expanded ({error})") from None
