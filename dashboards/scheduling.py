"""Scheduling by chip class: whether each kind of Mac gets what it is best at, and what that costs."""

from dashboards.board import Board, Panel, Query, Style, Unit, hourly, mean, quantile, rate

_HOW = ("chip_class", "model", "compute_unit", "attention")
_LOADS = 'stage=~"compile|load"'
_LEGEND = "{{chip_class}} {{model}} {{compute_unit}} {{attention}}"

BOARD = Board(
    uid="farm-scheduling",
    title="Farm: scheduling by chip class",
    meaning="Whether each kind of Mac gets what it is best at: what runs where, how fast, at what energy.",
    rows=(
        (
            "What runs where",
            (
                Panel(
                    "Images per hour",
                    "By chip class, model, compute unit and attention. A class should stay with one way for a model.",
                    Unit.PER_HOUR,
                    (Query(hourly("farm_images_committed_total", *_HOW), _LEGEND, _HOW),),
                    Style.STACK,
                ),
                Panel(
                    "Seconds per image",
                    "The median. Placement goes by the same model's figures on each class.",
                    Unit.SECONDS,
                    (Query(quantile(0.5, "farm_image_render_seconds", *_HOW), _LEGEND, _HOW),),
                ),
                Panel(
                    "Seconds per step",
                    "Mean on the workers.",
                    Unit.SECONDS,
                    (Query(mean("farm_worker_step_seconds", *_HOW), _LEGEND, _HOW),),
                ),
                Panel(
                    "Energy per image",
                    "Mean, of Macs that can tell.",
                    Unit.JOULES,
                    (Query(mean("farm_worker_image_energy_joules", *_HOW), _LEGEND, _HOW),),
                ),
            ),
        ),
        (
            "How well they are used",
            (
                Panel(
                    "Busy",
                    "Part of the workers of a class that have something to render.",
                    Unit.SHARE,
                    (Query("avg by (chip_class) (farm_worker_busy)", "{{chip_class}}", ("chip_class",)),),
                ),
                Panel(
                    "Workers",
                    "By class and state.",
                    Unit.COUNT,
                    (
                        Query(
                            "sum by (chip_class, state) (farm_workers)",
                            "{{chip_class}} {{state}}",
                            ("chip_class", "state"),
                        ),
                    ),
                    Style.STACK,
                ),
                Panel(
                    "Time spent loading models",
                    "Compile and load. If it is high, models change too often for the number of Macs.",
                    Unit.SHARE,
                    (
                        Query(
                            f"{rate('farm_worker_stage_seconds_sum', 'chip_class', where=_LOADS)} / "
                            f"{rate('farm_worker_stage_seconds_sum', 'chip_class')}",
                            "{{chip_class}}",
                            ("chip_class",),
                        ),
                    ),
                ),
                Panel(
                    "Gap between images",
                    "90 % are shorter; of all workers.",
                    Unit.SECONDS,
                    (Query(quantile(0.9, "farm_worker_idle_gap_seconds"), "gap"),),
                ),
            ),
        ),
        (
            "What is lost",
            (
                Panel(
                    "Attempts that ended, per hour",
                    "By class and state. ABANDONED does not count against its images; it costs time only.",
                    Unit.PER_HOUR,
                    (
                        Query(
                            hourly("farm_attempts_ended_total", "chip_class", "state"),
                            "{{chip_class}} {{state}}",
                            ("chip_class", "state"),
                        ),
                    ),
                ),
                Panel(
                    "Second attempts and late results, per hour",
                    "The price of short tails: one of two attempts is cancelled, and a late result is discarded.",
                    Unit.PER_HOUR,
                    (
                        Query(hourly("farm_attempts_duplicated_total"), "second attempts"),
                        Query(hourly("farm_results_refused_total"), "late results"),
                    ),
                ),
                Panel(
                    "Failed renderings, per hour",
                    "By class: what fails on one class only is the class's fault, not the image's.",
                    Unit.PER_HOUR,
                    (
                        Query(
                            hourly("farm_image_failures_total", "chip_class", "compute_unit", "reason"),
                            "{{chip_class}} {{compute_unit}} {{reason}}",
                            ("chip_class", "compute_unit", "reason"),
                        ),
                    ),
                ),
            ),
        ),
    ),
)
