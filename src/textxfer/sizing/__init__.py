"""A recipe fitted to a time: `pace` measures the task's rates, `ladder` and `budget` do the arithmetic.

```python
sized = fit_to(data, base, minutes=10)
language = sized.finetune(base)
learn = ulmfit.classify(data, None if language is None else language.model.encoder, recipe=sized.recipe)
```

What is measured is thrown away: the trainings that follow are those of a run without measuring.
"""

from textxfer.sizing.budget import Budget, epochs_left, plan, slack_of
from textxfer.sizing.fit import Sized, amounts_of, documents_read, fit_to, sized
from textxfer.sizing.ladder import Amounts, Rates
from textxfer.sizing.pace import measure, measure_classifier

__all__ = [
    "Amounts",
    "Budget",
    "Rates",
    "Sized",
    "amounts_of",
    "documents_read",
    "epochs_left",
    "fit_to",
    "measure",
    "measure_classifier",
    "plan",
    "sized",
    "slack_of",
]
