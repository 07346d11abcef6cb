"""What runs in the measured process: nothing here may import servers, test support or the report, whose memory would be measured too."""
