def log_master(log, msg):
    log(msg)
