//= limit: wall_time_ms=600
public class Main { public static void main(String[] args) throws Exception { System.out.println("begin"); Thread.sleep(60_000); } }
