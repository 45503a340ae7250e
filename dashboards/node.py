"""One Mac: where its time goes, how it is doing, and what an image costs there."""

from dashboards.board import Board, Panel, Query, Style, Unit, Variable, hourly, mean, quantile, rate

_WORKER = 'worker=~"$worker"'
_HOW = ("worker", "model", "compute_unit")

BOARD = Board(
    uid="farm-node",
    title="Farm: node",
    meaning="One Mac, or several beside each other: where the time goes, how it is doing, what an image costs there.",
    variables=(Variable("worker", "farm_worker_info"),),
    rows=(
        (
            "Work",
            (
                Panel(
                    "Images per hour",
                    "Images rendered; the coordinator may have refused some that arrived too late.",
                    Unit.PER_HOUR,
                    (
                        Query(
                            hourly("farm_worker_images_total", *_HOW, where=_WORKER),
                            "{{worker}} {{model}} {{compute_unit}}",
                            _HOW,
                        ),
                    ),
                ),
                Panel(
                    "Where the time goes",
                    "Part of each second; in the rest the Mac was idle. Saving overlaps with the other stages.",
                    Unit.SHARE,
                    (
                        Query(
                            rate("farm_worker_stage_seconds_sum", "worker", "stage", where=_WORKER),
                            "{{worker}} {{stage}}",
                            ("worker", "stage"),
                        ),
                    ),
                    Style.STACK,
                ),
                Panel(
                    "Seconds per stage",
                    "Mean of each.",
                    Unit.SECONDS,
                    (
                        Query(
                            mean("farm_worker_stage_seconds", "worker", "stage", where=_WORKER),
                            "{{worker}} {{stage}}",
                            ("worker", "stage"),
                        ),
                    ),
                ),
                Panel(
                    "Seconds per step",
                    "Where the two lines diverge, something else uses the device from time to time.",
                    Unit.SECONDS,
                    (
                        Query(
                            quantile(0.5, "farm_worker_step_seconds", *_HOW, where=_WORKER),
                            "{{worker}} {{model}} {{compute_unit}} median",
                            _HOW,
                        ),
                        Query(
                            quantile(0.95, "farm_worker_step_seconds", *_HOW, where=_WORKER),
                            "{{worker}} {{model}} {{compute_unit}} 95 %",
                            _HOW,
                        ),
                    ),
                ),
                Panel(
                    "Gap between images",
                    "Without those in which a model was loaded. While images wait it should be milliseconds.",
                    Unit.SECONDS,
                    (
                        Query(
                            quantile(0.9, "farm_worker_idle_gap_seconds", "worker", where=_WORKER),
                            "{{worker}} 90 %",
                            ("worker",),
                        ),
                    ),
                ),
                Panel(
                    "In its stage or step for",
                    "It grows while the pipeline hangs; each stage has a deadline, at which the process is replaced.",
                    Unit.SECONDS,
                    (
                        Query(
                            f"max by (worker) (farm_worker_stage_elapsed_seconds{{{_WORKER}}})",
                            "{{worker}}",
                            ("worker",),
                        ),
                    ),
                ),
            ),
        ),
        (
            "Machine",
            (
                Panel(
                    "Memory",
                    "Used by the worker and its models, and left for others.",
                    Unit.BYTES,
                    (
                        Query(f"max by (worker) (farm_memory_used_bytes{{{_WORKER}}})", "{{worker}} used", ("worker",)),
                        Query(
                            f"max by (worker) (farm_memory_available_bytes{{{_WORKER}}})",
                            "{{worker}} available",
                            ("worker",),
                        ),
                    ),
                ),
                Panel(
                    "Heat",
                    "0 nominal, 1 fair, 2 serious, 3 critical.",
                    Unit.COUNT,
                    (Query(f"max by (worker) (farm_worker_thermal_level{{{_WORKER}}})", "{{worker}}", ("worker",)),),
                ),
                Panel(
                    "Power",
                    "Of the chip: CPU, GPU, Neural Engine and memory.",
                    Unit.WATTS,
                    (
                        Query(
                            rate("farm_worker_energy_joules_total", "worker", where=_WORKER), "{{worker}}", ("worker",)
                        ),
                    ),
                ),
                Panel(
                    "Energy per image",
                    "Mean; 3600 J are a watt-hour.",
                    Unit.JOULES,
                    (
                        Query(
                            mean("farm_worker_image_energy_joules", *_HOW, where=_WORKER),
                            "{{worker}} {{model}} {{compute_unit}}",
                            _HOW,
                        ),
                    ),
                ),
                Panel(
                    "Free disk",
                    "Where the worker keeps its outbox.",
                    Unit.BYTES,
                    (Query(f"min by (worker) (farm_disk_free_bytes{{{_WORKER}}})", "{{worker}}", ("worker",)),),
                ),
            ),
        ),
        (
            "With the coordinator",
            (
                Panel(
                    "Connected",
                    "1 while the coordinator reaches it.",
                    Unit.COUNT,
                    (Query(f"min by (worker) (farm_worker_connected{{{_WORKER}}})", "{{worker}}", ("worker",)),),
                ),
                Panel(
                    "Kept reports",
                    "Finished images and ends of attempts that the coordinator has not taken yet.",
                    Unit.COUNT,
                    (Query(f"max by (worker) (farm_worker_outbox_reports{{{_WORKER}}})", "{{worker}}", ("worker",)),),
                ),
                Panel(
                    "Attempts that ended, per hour",
                    "ABANDONED: its process crashed or hung, or it gave work back.",
                    Unit.PER_HOUR,
                    (
                        Query(
                            hourly("farm_worker_attempts_total", "worker", "state", where=_WORKER),
                            "{{worker}} {{state}}",
                            ("worker", "state"),
                        ),
                    ),
                ),
                Panel(
                    "Failed renderings, per hour",
                    "By the image's own fault, as the worker saw it.",
                    Unit.PER_HOUR,
                    (
                        Query(
                            hourly("farm_worker_image_failures_total", "worker", "model", "reason", where=_WORKER),
                            "{{worker}} {{model}} {{reason}}",
                            ("worker", "model", "reason"),
                        ),
                    ),
                ),
            ),
        ),
    ),
)
