"""The trusted process: tracking API, durable queue, scheduler, worker pools, admin API."""
