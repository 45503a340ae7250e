"""The fleet: who is there, how much it renders, and which Macs need attention."""

from dashboards.board import Board, Panel, Query, Style, Unit, hourly, quantile

_CLOCK = "farm_clock_timestamp_seconds"

BOARD = Board(
    uid="farm-fleet",
    title="Farm: fleet",
    meaning="All Macs together: who is there, what they render, and which need attention.",
    rows=(
        (
            "Now",
            (
                Panel(
                    "Workers that accept work",
                    "Those that are there, neither drained nor suspended.",
                    Unit.COUNT,
                    (Query('sum(farm_workers{state="ACTIVE"}) or vector(0)', "active"),),
                    Style.NUMBER,
                ),
                Panel(
                    "Images per hour",
                    "What was committed recently, projected to an hour.",
                    Unit.PER_HOUR,
                    (Query(hourly("farm_images_committed_total"), "images"),),
                    Style.NUMBER,
                ),
                Panel(
                    "Images that wait",
                    "Of all live jobs, paused ones too.",
                    Unit.COUNT,
                    (Query("sum(farm_queue_images) or vector(0)", "waiting"),),
                    Style.NUMBER,
                ),
                Panel(
                    "Power",
                    "Of the chips of all Macs that can tell.",
                    Unit.WATTS,
                    (Query("sum(farm:worker_power_watts:rate5m)", "power"),),
                    Style.NUMBER,
                ),
            ),
        ),
        (
            "Work",
            (
                Panel(
                    "Images per hour by chip class",
                    "A step down is a Mac that left, or a job with larger images.",
                    Unit.PER_HOUR,
                    (
                        Query(
                            hourly("farm_images_committed_total", "chip_class"),
                            "{{chip_class}}",
                            ("chip_class",),
                        ),
                    ),
                    Style.STACK,
                ),
                Panel(
                    "Workers by state",
                    "OFFLINE: was there since the coordinator started, and is silent.",
                    Unit.COUNT,
                    (Query("sum by (state) (farm_workers)", "{{state}}", ("state",)),),
                    Style.STACK,
                ),
                Panel(
                    "Busy",
                    "Part of the time in which a Mac loads or renders. Idle while images wait: look at `farm explain`.",
                    Unit.SHARE,
                    (Query("farm:worker_busy:ratio5m", "{{worker}}", ("worker",)),),
                ),
                Panel(
                    "Speed relative to its own usual speed",
                    "100 % is the median of the Mac's own last week; below 70 % an alert is given.",
                    Unit.SHARE,
                    (
                        Query(
                            "farm:worker_speed:ratio",
                            "{{worker}} {{model}} {{compute_unit}}",
                            ("worker", "model", "compute_unit", "attention"),
                        ),
                    ),
                ),
            ),
        ),
        (
            "Trouble",
            (
                Panel(
                    "Failed renderings per hour",
                    "By the image's own fault; each image is tried on three workers. `farm explain JOB` has the story.",
                    Unit.PER_HOUR,
                    (
                        Query(
                            hourly("farm_image_failures_total", "model", "reason"),
                            "{{model}} {{reason}}",
                            ("model", "reason"),
                        ),
                    ),
                ),
                Panel(
                    "Leases, late results, second attempts",
                    "How often a worker fell silent, an image came too late, or a slow tail was given to a second Mac.",
                    Unit.COUNT,
                    (
                        Query("increase(farm_leases_expired_total[1h])", "leases expired", ("instance", "job")),
                        Query("increase(farm_results_refused_total[1h])", "late results", ("instance", "job")),
                        Query("increase(farm_attempts_duplicated_total[1h])", "second attempts", ("instance", "job")),
                        Query("increase(farm_workers_set_aside_total[1h])", "set aside", ("instance", "job")),
                    ),
                ),
                Panel(
                    "Silent for",
                    "Since a worker was last heard of. A heartbeat comes every two seconds.",
                    Unit.SECONDS,
                    (
                        Query(
                            "max by (worker) (time() - farm_worker_last_seen_timestamp_seconds)",
                            "{{worker}}",
                            ("worker",),
                        ),
                    ),
                ),
                Panel(
                    "Heat",
                    "0 nominal, 1 fair, 2 serious, 3 critical: from 2 on macOS holds the Mac back.",
                    Unit.COUNT,
                    (Query("max by (worker) (farm_worker_thermal_level)", "{{worker}}", ("worker",)),),
                ),
            ),
        ),
        (
            "Machines",
            (
                Panel(
                    "Power",
                    "Of each chip, where it can be told.",
                    Unit.WATTS,
                    (Query("farm:worker_power_watts:rate5m", "{{worker}}", ("worker",)),),
                    Style.STACK,
                ),
                Panel(
                    "Free disk",
                    "A coordinator pauses all jobs when little is left; a worker keeps its outbox in memory.",
                    Unit.BYTES,
                    (Query("min by (instance) (farm_disk_free_bytes)", "{{instance}}", ("instance",)),),
                ),
                Panel(
                    "Journal",
                    "One transaction until it is on disk. Every answer of the farm waits for one.",
                    Unit.SECONDS,
                    (
                        Query(quantile(0.5, "farm_journal_commit_seconds"), "median"),
                        Query(quantile(0.99, "farm_journal_commit_seconds"), "99 %"),
                    ),
                ),
                Panel(
                    "Clocks",
                    "How far each machine's clock is from Prometheus'.",
                    Unit.SECONDS,
                    (
                        Query(
                            f"max by (instance) (abs({_CLOCK} - timestamp({_CLOCK})))",
                            "{{instance}}",
                            ("instance",),
                        ),
                    ),
                ),
                Panel(
                    "Certificates end in",
                    "Machines renew theirs automatically four months before; the authority lasts twenty years.",
                    Unit.SECONDS,
                    (
                        Query(
                            "min by (instance) (farm_certificate_expiry_timestamp_seconds "
                            "or farm_authority_expiry_timestamp_seconds) - time()",
                            "{{instance}}",
                            ("instance",),
                        ),
                    ),
                ),
            ),
        ),
    ),
)
