module refresh-cluster-pause

go 1.26.0
