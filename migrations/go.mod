module devflowbackup/migrations

go 1.26.0
