module refresh-cluster-node

go 1.26.0
