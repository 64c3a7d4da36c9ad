"""What must hold while parts fail: Redis, backends, workers, clients. Run under load by wrk."""
