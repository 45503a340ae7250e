"""Jobs, by model: no series names a job, so that a farm's history does not grow with what it renders.

A single job's images, story and forecast are on the farm's own page, and in `farm watch` and `farm explain`.
"""

from dashboards.board import Board, Panel, Query, Style, Unit, Variable, mean, quantile, rate

_MODEL = 'model=~"$model"'

_IMAGES = rate("farm_images_committed_total", "model", where=_MODEL)

BOARD = Board(
    uid="farm-jobs",
    title="Farm: jobs",
    meaning="What waits, what runs, how long images take and how good forecasts are, by model. Single jobs are on the "
    "farm's own page.",
    variables=(Variable("model", "farm_images_committed_total"),),
    rows=(
        (
            "Queue",
            (
                Panel(
                    "Live jobs",
                    "By state. PAUSED with nobody who paused them: the disk is full.",
                    Unit.COUNT,
                    (Query("sum by (state) (farm_jobs)", "{{state}}", ("state",)),),
                    Style.STACK,
                ),
                Panel(
                    "Images",
                    "That wait, and that workers hold.",
                    Unit.COUNT,
                    (
                        Query(f"sum by (model) (farm_queue_images{{{_MODEL}}})", "{{model}} waits", ("model",)),
                        Query(f"sum by (model) (farm_running_images{{{_MODEL}}})", "{{model}} held", ("model",)),
                    ),
                    Style.STACK,
                ),
                Panel(
                    "Work that is left",
                    "Images that wait at the rate of the last minutes. Not a forecast: `farm jobs` has those.",
                    Unit.SECONDS,
                    (
                        Query(
                            f"sum by (model) (farm_queue_images{{{_MODEL}}}) / ({_IMAGES} > 0)",
                            "{{model}}",
                            ("model",),
                        ),
                    ),
                ),
                Panel(
                    "Longest wait",
                    "Of a job that may run, since an image of it was last started.",
                    Unit.SECONDS,
                    (Query("max(farm_queue_stalled_seconds)", "wait"),),
                ),
            ),
        ),
        (
            "Images",
            (
                Panel(
                    "Images per hour",
                    "Committed, by model.",
                    Unit.PER_HOUR,
                    (
                        Query(
                            f"{_IMAGES} * 3600",
                            "{{model}}",
                            ("model",),
                        ),
                    ),
                    Style.STACK,
                ),
                Panel(
                    "Seconds per image",
                    "From its start to its pixels.",
                    Unit.SECONDS,
                    (
                        Query(
                            quantile(0.5, "farm_image_render_seconds", "model", where=_MODEL),
                            "{{model}} median",
                            ("model",),
                        ),
                        Query(
                            quantile(0.95, "farm_image_render_seconds", "model", where=_MODEL),
                            "{{model}} 95 %",
                            ("model",),
                        ),
                    ),
                ),
                Panel(
                    "Failed renderings",
                    "Part of all. Above 5 % there is an alert.",
                    Unit.SHARE,
                    (Query(f"farm:image_failures:ratio15m{{{_MODEL}}}", "{{model}}", ("model",)),),
                ),
                Panel(
                    "Size of a file",
                    "Mean of committed images: the disk that a job of n images takes.",
                    Unit.BYTES,
                    (
                        Query(
                            f"{rate('farm_image_bytes_total', 'model', where=_MODEL)} / {_IMAGES}",
                            "{{model}}",
                            ("model",),
                        ),
                    ),
                ),
            ),
        ),
        (
            "Ends",
            (
                Panel(
                    "Jobs that ended in the last hour",
                    "By their last state.",
                    Unit.COUNT,
                    (Query("sum by (state) (increase(farm_jobs_ended_total[1h]))", "{{state}}", ("state",)),),
                    Style.STACK,
                ),
                Panel(
                    "Forecasts",
                    "Actual over predicted time since the coordinator started; 1 is right.",
                    Unit.COUNT,
                    (
                        Query("histogram_quantile(0.1, sum by (le) (farm_eta_ratio_bucket))", "10 %"),
                        Query("histogram_quantile(0.5, sum by (le) (farm_eta_ratio_bucket))", "median"),
                        Query("histogram_quantile(0.9, sum by (le) (farm_eta_ratio_bucket))", "90 %"),
                    ),
                ),
                Panel(
                    "Seconds per step",
                    "On workers, by model and compute unit.",
                    Unit.SECONDS,
                    (
                        Query(
                            mean("farm_worker_step_seconds", "model", "compute_unit", where=_MODEL),
                            "{{model}} {{compute_unit}}",
                            ("model", "compute_unit"),
                        ),
                    ),
                ),
            ),
        ),
    ),
)
